"""The command line `efficientdet`: one file a command, `main.py` chooses between them.

A command is a module with a docstring (its --help text, with an example), `define(flags)`, which
defines its flags, and `main(given)`, which gets them as attributes and returns None or an Outcome.
"""
