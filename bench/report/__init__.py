"""Tables, plots, statistics and the leaderboard, made only from records. Imports neither torch nor ray."""
