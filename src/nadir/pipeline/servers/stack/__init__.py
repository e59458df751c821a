"""The server stack of docker-compose.yml as processes of this machine: `make stack`.

Programs, settings, order and health checks are read from the compose file, so that what tests start
is what the containers start.
"""
