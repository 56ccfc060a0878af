"""Reports from records alone: tables, plots, statistics, the leaderboard. Imports neither torch nor ray."""
