"""`run`: a file of requests, asked to its end, however often it is interrupted."""
