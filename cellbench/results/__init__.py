"""Records, statistics and leaderboards; never imports torch."""
