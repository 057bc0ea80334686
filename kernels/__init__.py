"""The formulas of fastmlp and the backends that run them; see README.md in this folder.

Nothing is imported here: the build imports `formulas` and `emit_c` before anything is installed,
and a backend is loaded only when it is used (fastmlp/backend.py does that).
"""
