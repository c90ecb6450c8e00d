//! `dir://`: the vassal files of one directory, by inotify.
