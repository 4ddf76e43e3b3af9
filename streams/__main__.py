"""``python -m streams`` is ``kapok``."""

from streams.commands import main

if __name__ == "__main__":
    main()
