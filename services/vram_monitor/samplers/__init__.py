"""Ways of reading what devices a node has and how full they are."""
