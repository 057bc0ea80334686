"""The commands of the command line, a module each: `add_arguments(parser)` and `run(arguments)`.

A command imports what it needs when it runs, so that ``fastmlp --help`` is quick.
"""
