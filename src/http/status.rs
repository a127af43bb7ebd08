//! The status codes this server sends: an enum, so that an answer without a reason phrase cannot be written.

use std::fmt;

/// What a response says of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// 200: here it is.
    Ok,
    /// 204: there is nothing to show, and that is fine.
    NoContent,
    /// 206: here is the part that was asked for.
    PartialContent,
    /// 301: it has another name, for good.
    MovedPermanently,
    /// 304: the copy you have is still good.
    NotModified,
    /// 400: this is not HTTP, or a form of it that could be read in two ways.
    BadRequest,
    /// 403: it exists in some sense, and is not served.
    Forbidden,
    /// 404: there is no such file.
    NotFound,
    /// 405: files are only read.
    MethodNotAllowed,
    /// 408: the request took too long to arrive.
    RequestTimeout,
    /// 412: it is not, or no longer, what the request was meant for.
    PreconditionFailed,
    /// 413: the body is larger than this server skips.
    ContentTooLarge,
    /// 416: the range lies outside the file.
    RangeNotSatisfiable,
    /// 431: the header has too many bytes or too many fields.
    HeaderFieldsTooLarge,
    /// 500: reading the file failed.
    InternalServerError,
    /// 501: a transfer coding that this server does not decode.
    NotImplemented,
    /// 503: no descriptor to open the file with.
    ServiceUnavailable,
    /// 505: neither HTTP/1.0 nor HTTP/1.1.
    VersionNotSupported,
}

impl Status {
    /// The three-digit number.
    #[must_use]
    pub fn code(self) -> u16 {
        self.parts().0
    }

    /// The phrase that follows the number in a status line.
    #[must_use]
    pub fn reason(self) -> &'static str {
        self.parts().1
    }

    fn parts(self) -> (u16, &'static str) {
        match self {
            Status::Ok => (200, "OK"),
            Status::NoContent => (204, "No Content"),
            Status::PartialContent => (206, "Partial Content"),
            Status::MovedPermanently => (301, "Moved Permanently"),
            Status::NotModified => (304, "Not Modified"),
            Status::BadRequest => (400, "Bad Request"),
            Status::Forbidden => (403, "Forbidden"),
            Status::NotFound => (404, "Not Found"),
            Status::MethodNotAllowed => (405, "Method Not Allowed"),
            Status::RequestTimeout => (408, "Request Timeout"),
            Status::PreconditionFailed => (412, "Precondition Failed"),
            Status::ContentTooLarge => (413, "Content Too Large"),
            Status::RangeNotSatisfiable => (416, "Range Not Satisfiable"),
            Status::HeaderFieldsTooLarge => (431, "Request Header Fields Too Large"),
            Status::InternalServerError => (500, "Internal Server Error"),
            Status::NotImplemented => (501, "Not Implemented"),
            Status::ServiceUnavailable => (503, "Service Unavailable"),
            Status::VersionNotSupported => (505, "HTTP Version Not Supported"),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, reason) = self.parts();
        write!(f, "{code} {reason}")
    }
}
