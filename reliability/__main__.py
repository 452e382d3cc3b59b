"""``python -m reliability``: the same as the ``rram-reliability`` command."""

from reliability.cli.main import main

if __name__ == "__main__":
    main()
