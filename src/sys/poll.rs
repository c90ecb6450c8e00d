//! poll(2) and the epoll set that holds the quiet descriptors.
