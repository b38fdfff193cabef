//! Alerts, apart from how they run: what is told of them, to whom and when. Pure: no clock and no I/O; whoever calls says
//! what time it is.

pub mod policy;
