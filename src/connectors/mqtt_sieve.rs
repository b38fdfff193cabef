//! Cuts short what a broker sends that is larger than it may be, without ever holding it: of a message beyond the limit the
//! beginning comes through, marked, and is acknowledged like any other.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much of a message that is too large comes through.
pub(super) const KEPT: usize = 1 << 10;
/// Bytes that are read at once.
const PIECE: usize = 16 << 10;
/// Bytes of a packet that was cut short, at most: its topic and what is kept.
pub(super) const MOST_CUT: usize = (64 << 10) + 2 * KEPT;
/// Bytes of the mark: a number that nobody can guess, and the bytes of the packet.
const MARK_BYTES: usize = 24;
/// A packet of this type is a message.
const PUBLISH: u8 = 3;

/// What a message that was cut short begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u128);

impl Mark {
    pub fn new() -> Mark {
        let half = |n: u8| u128::from(RandomState::new().hash_one(n));
        Mark(half(0) << 64 | half(1))
    }

    fn of(self, size: u64) -> [u8; MARK_BYTES] {
        let mut mark = [0; MARK_BYTES];
        let bytes = self.0.to_be_bytes().into_iter().chain(size.to_be_bytes());
        mark.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        mark
    }

    /// Takes the mark off a message that was cut short: how many bytes its packet had.
    pub fn take(self, payload: &mut Bytes) -> Option<u64> {
        let (mark, _) = payload.split_first_chunk::<MARK_BYTES>()?;
        let (number, size) = mark.split_first_chunk::<16>()?;
        if u128::from_be_bytes(*number) != self.0 {
            return None;
        }
        let size = u64::from_be_bytes(size.try_into().ok()?);
        payload.advance(MARK_BYTES);
        Some(size)
    }
}

/// Where in the stream of packets it is.
enum At {
    /// In the head of a packet, of which these bytes have come.
    Head(Vec<u8>),
    /// In a packet that passes as it is, with so many bytes left.
    Pass(usize),
    /// In a message that is cut short.
    Cut { first: u8, size: usize, left: usize, kept: Vec<u8> },
    /// In what is left of it.
    Skip(usize),
}

/// A connection behind which no message is larger than it may be.
pub(super) struct Sieve<S> {
    stream: S,
    most: usize,
    mark: Mark,
    at: At,
    /// What came through and was not read yet.
    out: BytesMut,
    piece: Vec<u8>,
}

impl<S> Sieve<S> {
    pub fn new(stream: S, most: usize, mark: Mark) -> Sieve<S> {
        Sieve { stream, most, mark, at: At::Head(Vec::new()), out: BytesMut::new(), piece: vec![0; PIECE] }
    }
}

/// The bytes behind the first of a packet, in the head of which these are; nothing while the head is not whole. A head that is
/// none is for the client to refuse.
fn length_of(head: &[u8]) -> Option<usize> {
    let digits = head.get(1..)?;
    let whole = digits.last().is_some_and(|digit| digit & 0x80 == 0) || digits.len() == 4;
    let value = digits.iter().rev().fold(0, |value, digit| value << 7 | usize::from(digit & 0x7f));
    whole.then_some(value)
}

/// The bytes between the head of a message and its payload, if it says so yet: topic and packet id.
fn before_payload(first: u8, kept: &[u8]) -> Option<usize> {
    let (topic, _) = kept.split_first_chunk::<2>()?;
    let id = if first & 0b110 == 0 { 0 } else { 2 };
    Some(2 + usize::from(u16::from_be_bytes(*topic)) + id)
}

/// Takes what has come, in turn, until there is no more.
struct Step<'a> {
    most: usize,
    mark: Mark,
    out: &'a mut BytesMut,
}

impl Step<'_> {
    /// Takes some of `bytes`, which is not empty, as the place says; the place behind it.
    fn take(&mut self, at: At, bytes: &mut &[u8]) -> At {
        match at {
            At::Head(mut head) => {
                head.extend(bytes.first());
                bytes.advance(1);
                match length_of(&head) {
                    None => At::Head(head),
                    Some(length) => self.begin(&head, length),
                }
            }
            At::Pass(left) => {
                let (now, rest) = bytes.split_at(left.min(bytes.len()));
                self.out.extend_from_slice(now);
                *bytes = rest;
                if left == now.len() { At::Head(Vec::new()) } else { At::Pass(left - now.len()) }
            }
            At::Cut { first, size, left, mut kept } => {
                // Without its first two bytes it is not known how many are wanted.
                let wanted = before_payload(first, &kept).map_or(2, |before| before + KEPT);
                let (now, rest) = bytes.split_at(wanted.saturating_sub(kept.len()).min(left).min(bytes.len()));
                kept.extend_from_slice(now);
                *bytes = rest;
                let left = left - now.len();
                match before_payload(first, &kept) {
                    Some(before) if kept.len() >= before + KEPT || left == 0 => {
                        self.cut(first, size, left, &kept, before)
                    }
                    _ if left == 0 => At::Head(Vec::new()),
                    _ => At::Cut { first, size, left, kept },
                }
            }
            At::Skip(left) => {
                let now = left.min(bytes.len());
                bytes.advance(now);
                if left == now { At::Head(Vec::new()) } else { At::Skip(left - now) }
            }
        }
    }

    fn begin(&mut self, head: &[u8], length: usize) -> At {
        match head.first() {
            Some(first) if first >> 4 == PUBLISH && length > self.most => {
                At::Cut { first: *first, size: length + head.len(), left: length, kept: Vec::new() }
            }
            _ => {
                self.out.extend_from_slice(head);
                if length == 0 { At::Head(Vec::new()) } else { At::Pass(length) }
            }
        }
    }

    /// Hands on the beginning of a message.
    fn cut(&mut self, first: u8, size: usize, left: usize, kept: &[u8], before: usize) -> At {
        let (variable, payload) = kept.split_at(before.min(kept.len()));
        self.out.extend_from_slice(&[first]);
        let mut length = kept.len() + MARK_BYTES;
        while length > 0x7f {
            self.out.extend_from_slice(&[(length & 0x7f) as u8 | 0x80]);
            length >>= 7;
        }
        self.out.extend_from_slice(&[length as u8]);
        self.out.extend_from_slice(variable);
        self.out.extend_from_slice(&self.mark.of(size as u64));
        self.out.extend_from_slice(payload);
        if left == 0 { At::Head(Vec::new()) } else { At::Skip(left) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sieve<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.out.is_empty() {
            let mut piece = ReadBuf::new(&mut this.piece);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut piece))?;
            let mut bytes = piece.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mut step = Step { most: this.most, mark: this.mark, out: &mut this.out };
            while !bytes.is_empty() {
                let at = std::mem::replace(&mut this.at, At::Skip(0));
                this.at = step.take(at, &mut bytes);
            }
        }
        let now = this.out.split_to(into.remaining().min(this.out.len()));
        into.put_slice(&now);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sieve<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::conformance::block_on;
    use tokio::io::AsyncReadExt as _;

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![first];
        let mut length = body.len();
        while length > 0x7f {
            packet.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        packet.push(length as u8);
        packet.extend_from_slice(body);
        packet
    }

    fn message(qos: u8, payload: usize) -> Vec<u8> {
        let mut body = b"\0\x03a/b".to_vec();
        if qos > 0 {
            body.extend_from_slice(&[1, 2]);
        }
        body.extend(std::iter::repeat_n(b'x', payload));
        packet(0x30 | qos << 1, &body)
    }

    #[test]
    fn what_is_too_large_is_cut_short_and_everything_else_passes() {
        let mark = Mark::new();
        let stream = [packet(0x20, &[0, 0]), message(1, 100), message(1, 70_000), message(0, 5_000), packet(0xd0, &[])];
        let all = stream.concat();
        for piece in [1, 2, 3, 7, 1_000, 100_000] {
            let mut sieve = Sieve::new(&all[..], 2_000, mark);
            sieve.piece = vec![0; piece];
            let mut came = Vec::new();
            block_on(sieve.read_to_end(&mut came)).unwrap();
            let rest = came.strip_prefix(&[packet(0x20, &[0, 0]), message(1, 100)].concat()[..]).unwrap();
            let cut = |first: u8, before: &[u8], size: usize| {
                packet(first, &[before, &mark.of(size as u64)[..], &vec![b'x'; KEPT][..]].concat())
            };
            let wanted = [
                cut(0x32, b"\0\x03a/b\x01\x02", message(1, 70_000).len()),
                cut(0x30, b"\0\x03a/b", message(0, 5_000).len()),
                packet(0xd0, &[]),
            ];
            assert!(rest == wanted.concat(), "in pieces of {piece}");
        }
        let mut payload = Bytes::from([&mark.of(7)[..], b"abc"].concat());
        assert_eq!((mark.take(&mut payload), &payload[..]), (Some(7), &b"abc"[..]));
        assert_eq!(mark.take(&mut payload), None);
        assert_eq!(Mark::new().take(&mut Bytes::from(mark.of(7).to_vec())), None);
    }
}
