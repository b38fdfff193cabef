//! Reading CSV records.

use csv_core::ReadRecordResult;

use crate::data::format::Csv;

/// The field names that the first record of `bytes` holds, and one past its end. `None` if there is no record.
pub fn header(bytes: &[u8], csv: &Csv) -> (Option<Vec<String>>, usize) {
    let mut reader = csv_core::ReaderBuilder::new().delimiter(csv.delimiter).quote(csv.quote).build();
    let (mut fields, mut ends) = (vec![0; bytes.len() + 1], vec![0; bytes.len() + 2]);
    let (mut read, mut written, mut count) = (0, 0, 0);
    loop {
        // Empty input says that no more follows, which ends a record that no line end does.
        let (result, taken, out, ended) = reader.read_record(
            bytes.get(read..).unwrap_or_default(),
            fields.get_mut(written..).unwrap_or_default(),
            ends.get_mut(count..).unwrap_or_default(),
        );
        (read, written, count) = (read + taken, written + out, count + ended);
        if !matches!(result, ReadRecordResult::InputEmpty) {
            break;
        }
    }
    if count == 0 {
        return (None, read);
    }
    let mut start = 0;
    let names = ends.iter().take(count).map(|end| {
        let end = (*end).min(written);
        let name = String::from_utf8_lossy(fields.get(start..end).unwrap_or_default()).trim().to_owned();
        start = end;
        name
    });
    (Some(names.collect()), read)
}
