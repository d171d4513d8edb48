//! Grants alone, with a made-up clock.
