"""The mathematics: descent, walks, token search, distances. No claim in sight."""
