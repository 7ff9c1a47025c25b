"""Run folders and resume, callbacks, learning rate schedules and provenance."""
