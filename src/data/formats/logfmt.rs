//! logfmt: `name=value` parted by white space, values with white space in double quotes.
//!
//! A name alone is `true`. An unquoted value goes to the next white space, whatever is in it; in a quoted one `\"`, `\\`,
//! `\n` and the other escapes of JSON are read. A quoted value is always text.

use super::Malformed;
use super::object::Object;
use super::quoted;

/// Reads a record.
pub(super) fn read(text: &str, infer: bool, object: &mut Object<'_>) -> Result<(), Malformed> {
    let bytes = text.as_bytes();
    let is_space = |b: &u8| *b <= b' ';
    let mut at = 0;
    let mut any = false;
    loop {
        at += bytes.get(at..).unwrap_or_default().iter().take_while(|b| is_space(b)).count();
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        let len = rest.iter().position(|b| is_space(b) || matches!(b, b'=' | b'"')).unwrap_or(rest.len());
        let name = text.get(at..at + len).unwrap_or_default();
        at += len;
        match bytes.get(at) {
            Some(b'"') => return Err(Malformed::new(at, "a quote stands where a name should: is a `=` missing?")),
            Some(b'=') if name.is_empty() => return Err(Malformed::new(at, "there is no name before `=`")),
            Some(b'=') => {
                any = true;
                at = value(text, at + 1, name, infer, object)?;
            }
            _ => object.plain(name, b"true"),
        }
    }
    if !any {
        return Err(Malformed::new(0, "there is no `name=value` in this record"));
    }
    Ok(())
}

/// Reads the value at `at`: one past its end.
fn value(text: &str, at: usize, name: &str, infer: bool, object: &mut Object<'_>) -> Result<usize, Malformed> {
    let bytes = text.as_bytes();
    if bytes.get(at) == Some(&b'"') {
        let quoted =
            quoted::read(text, at, b'"').ok_or_else(|| Malformed::new(at, "a quote is opened and never closed"))?;
        if bytes.get(quoted.end).is_some_and(|b| *b > b' ') {
            return Err(Malformed::new(quoted.end, "white space should follow the closing quote"));
        }
        object.text(name, &quoted.text);
        return Ok(quoted.end);
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let end = at + rest.iter().position(|b| *b <= b' ').unwrap_or(rest.len());
    object.bare(name, text.get(at..end).unwrap_or_default(), infer);
    Ok(end)
}
