"""`roundhouse doctor`: what this machine has, lacks, and what to do about it."""
