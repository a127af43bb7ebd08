//! Content codings: which of the compressed siblings of a file a client would rather have, by its
//! `Accept-Encoding` (RFC 9110, section 12.5.3).

/// A coding in which a file may lie beside itself, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

impl Coding {
    pub(crate) const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

    /// What a sibling's name ends in.
    pub(crate) fn suffix(self) -> &'static [u8] {
        match self {
            Coding::Brotli => b".br",
            Coding::Zstd => b".zst",
            Coding::Gzip => b".gz",
        }
    }

    /// The value of `Content-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }
}

/// Which codings there are of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Codings(u8);

impl Codings {
    pub(crate) const NONE: Codings = Codings(0);

    pub(crate) fn insert(&mut self, coding: Coding) {
        self.0 |= 1 << coding as u8;
    }

    pub(crate) fn contains(self, coding: Coding) -> bool {
        self.0 & (1 << coding as u8) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The coding among `there` that `accept_encoding` likes best, unless it would rather have none. A tie goes to
/// the one that usually compresses best.
pub(crate) fn choose(accept_encoding: &[&[u8]], there: Codings) -> Option<Coding> {
    let of = |name: &str| weight(accept_encoding, name);
    let candidates = Coding::ALL.into_iter().filter(|coding| there.contains(*coding));
    let weighed = candidates.map(|coding| (of(coding.name()).or_else(|| of("*")).unwrap_or(0), coding));
    // The last of equals wins, hence backwards.
    let (best, coding) = weighed.rev().max_by_key(|(weight, _)| *weight)?;
    (best > 0 && of("identity").is_none_or(|plain| plain <= best)).then_some(coding)
}

/// The weight that is given to `name`, in thousandths.
fn weight(accept_encoding: &[&[u8]], name: &str) -> Option<u16> {
    let items = accept_encoding.iter().flat_map(|line| line.split(|&byte| byte == b','));
    items.map(item).find(|(coding, _)| is_named(coding, name)).map(|(_, weight)| weight)
}

fn is_named(coding: &[u8], name: &str) -> bool {
    coding.eq_ignore_ascii_case(name.as_bytes()) || (name == "gzip" && coding.eq_ignore_ascii_case(b"x-gzip"))
}

/// An item and its weight. A weight that cannot be read is none: what is not understood is not sent.
fn item(text: &[u8]) -> (&[u8], u16) {
    let mut pieces = text.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let coding = pieces.next().unwrap_or_default();
    let quality = pieces.find_map(|piece| piece.strip_prefix(b"q=").or_else(|| piece.strip_prefix(b"Q=")));
    (coding, quality.map_or(1000, |digits| thousandths(digits).unwrap_or(0)))
}

/// `0`, `1`, or either with up to three decimals; never more than 1.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text.split_first()? {
        (b'0', rest) => (0, rest),
        (b'1', rest) => (1000, rest),
        _ => return None,
    };
    let digits = if decimals.is_empty() { decimals } else { decimals.strip_prefix(b".")? };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let scaled = digits.iter().zip([100, 10, 1]).map(|(digit, scale)| u16::from(digit - b'0') * scale);
    Some(whole + scaled.sum::<u16>()).filter(|weight| *weight <= 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str, there: &[Coding]) -> Option<Coding> {
        let mut codings = Codings::NONE;
        there.iter().for_each(|coding| codings.insert(*coding));
        choose(&[accept.as_bytes()], codings)
    }

    #[test]
    fn what_a_client_would_rather_have() {
        use Coding::*;
        let all = &Coding::ALL[..];
        let table = [
            ("gzip, deflate, br, zstd", all, Some(Brotli)),
            ("gzip, deflate, br, zstd", &[Zstd, Gzip], Some(Zstd)),
            ("gzip, deflate, br, zstd", &[], None),
            ("gzip", all, Some(Gzip)),
            ("x-gzip", all, Some(Gzip)),
            ("GZIP;Q=1", all, Some(Gzip)),
            ("br;q=0.5, gzip;q=0.501", all, Some(Gzip)),
            ("br;q=0, gzip", all, Some(Gzip)),
            ("br;q=0.000", all, None),
            ("*", all, Some(Brotli)),
            ("*;q=0.1, br;q=0", all, Some(Zstd)),
            ("*;q=0, gzip", &[Brotli], None),
            ("identity, gzip;q=0.9", all, None),
            ("identity;q=0.5, gzip;q=0.9", all, Some(Gzip)),
            ("identity;q=0", all, None),
            ("deflate", all, None),
            ("gzip ; q=0.3 , ,", all, Some(Gzip)),
            ("gzip;q=2", all, None),
            ("gzip;q=1.001", all, None),
            ("gzip;q=0.0001", all, None),
            ("gzip;q=.5", all, None),
            ("gzip;q=", all, None),
            ("", all, None),
        ];
        for (accept, there, expected) in table {
            assert_eq!(chosen(accept, there), expected, "{accept:?} {there:?}");
        }
        let mut gzip = Codings::NONE;
        gzip.insert(Gzip);
        assert_eq!(choose(&[], gzip), None, "who says nothing gets the file");
        assert_eq!(choose(&[b"br", b"gzip"], gzip), Some(Gzip), "a list in two lines");
    }
}
