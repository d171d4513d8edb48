//! `spad explain`: recorded packets, judged by the stages of the engine, and nothing done.
//!
//! [`capture_file`] reads the file, [`link`] finds the network header in each frame,
//! [`simulate`] gives it to `frame` and to an engine of its own at the recorded time, and
//! shows what that wants done instead of doing it. Pure, but for the reading.

pub mod simulate;

pub mod knock;

pub mod link;

pub mod capture_file;
