//! Alerts, apart from how they run: when one fires and resolves; what is told of that, to whom and when. Pure: no clock and
//! no I/O; whoever calls says what time it is.

pub mod machine;
pub mod policy;
