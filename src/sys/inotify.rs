//! inotify(7): watches and events.
