"""gunicorn's settings, picked up from the working directory: `gunicorn "quartapp:create_app()"`."""

from quartapp.gunicorn import *  # noqa: F403
