"""`python -m sqla_oban` does what `sqla-oban` does."""

from sqla_oban.cli import main

if __name__ == "__main__":
    main()
