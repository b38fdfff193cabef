//! Whether two programs wrote the same rows.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::Failure;

/// How far doubles may differ: sums are rounded by the order in which they are taken.
const TOLERANCE: f64 = 1e-9;

/// Compares line by line: the same bytes, or the same fields in the same order with doubles that are equal but for
/// rounding. Returns how many rows there are.
pub fn same(ours: &Path, yardstick: &Path) -> Result<u64, Failure> {
    let mut left = BufReader::with_capacity(1 << 20, File::open(ours)?);
    let mut right = BufReader::with_capacity(1 << 20, File::open(yardstick)?);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for row in 0.. {
        a.clear();
        b.clear();
        let more = left.read_until(b'\n', &mut a)?;
        if more == 0 && right.read_until(b'\n', &mut b)? == 0 {
            return Ok(row);
        }
        if more > 0 && b.is_empty() {
            right.read_until(b'\n', &mut b)?;
        }
        if a != b && !alike(&serde_json::from_slice(&a)?, &serde_json::from_slice(&b)?) {
            let (a, b) = (String::from_utf8_lossy(&a), String::from_utf8_lossy(&b));
            return Err(format!("row {} of {} differs:\n  has    {a}  wanted {b}", row + 1, ours.display()).into());
        }
    }
    Ok(0)
}

fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ka, va), (kb, vb))| ka == kb && alike(va, vb))
        }
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(x), Some(y)) => (x - y).abs() <= TOLERANCE * x.abs().max(y.abs()).max(1.0),
            _ => false,
        },
        _ => a == b,
    }
}
