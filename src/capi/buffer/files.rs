//! Descriptors: reading and writing, and files as content.
