//! What the cache promises.
