"""The commands, a module for each group; `cli.app` registers them."""
