"""Is what was asked for in the picture: judged by a probe of the project's own images."""
