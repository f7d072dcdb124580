"""`roundhouse up`: the stores and services of one machine, kept running."""
