//! Files for the program to read: JSON and CSV that overlap in time, some rows late, some broken.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// 2026-01-01T00:00:00Z.
pub const START: u64 = 1_767_225_600;

/// Numbers that look random and are the same in every run (Marsaglia, "Xorshift RNGs", 2003).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Five files of JSON that overlap in time, one of them empty, and two of CSV; some rows are late, some broken. There are
/// about 46 times `size` rows.
pub fn write_inputs(home: &Path, size: u64) {
    let mut numbers = Numbers(88_172_645_463_325_252);
    for file in 0..5u64 {
        let mut text = String::new();
        for row in 0..if file == 3 { 0 } else { (8 + file) * size } {
            let ts = START + row / 2 + file * 300 + 60 - numbers.below(60);
            let (device, value) = (numbers.below(40), numbers.below(2_000));
            match numbers.below(500) {
                0 => text.push_str("{\"ts\": 1, \"device\"\n"),
                1 => writeln!(text, "{{\"device\":\"d{device}\",\"v\":{value}}}").unwrap(),
                2 => writeln!(text, "{{\"ts\":{ts},\"device\":{device},\"v\":\"high\"}}").unwrap(),
                _ => writeln!(
                    text,
                    "{{\"ts\":{ts},\"device\":\"d{device}\",\"v\":{value}.5,\"site\":{{\"floor\":{}}}}}",
                    value % 3
                )
                .unwrap(),
            }
        }
        fs::write(home.join(format!("in/part-{file}.ndjson")), text).unwrap();
    }
    for file in 0..2 {
        let mut text = "ts,device,v,note\n".to_owned();
        for row in 0..4 * size {
            let ts = START + row + numbers.below(20);
            writeln!(text, "{ts},d{},{},\"a, \"\"b\"\"\nc\"", numbers.below(40), numbers.below(900)).unwrap();
        }
        fs::write(home.join(format!("in/more-{file}.csv")), text).unwrap();
    }
}

pub const SOURCES: &str = r#"
sources:
  parts:
    file: { path: in/part-*.ndjson }
    time: { field: ts, format: unix, out_of_order: 40s }
  more:
    file: { path: in/more-*.csv }
    format: csv
    time: { field: ts, format: unix, out_of_order: 5s }
"#;
