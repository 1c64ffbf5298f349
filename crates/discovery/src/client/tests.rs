//! The follower against scripted peers in memory, in paused time.
