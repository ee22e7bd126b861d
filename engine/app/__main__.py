"""`python -m engine.app`: what the start script runs."""

from engine.app.cli import main

if __name__ == "__main__":
    main()
