"""``python -m fastmlp`` is the same as the command ``fastmlp``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
