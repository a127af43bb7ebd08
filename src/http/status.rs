//! The status codes this server sends: an enum, so that an answer without a reason phrase cannot be written.

use std::fmt;

/// What a response says of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// 200: here it is.
    Ok,
    /// 201: something has been made.
    Created,
    /// 202: it will be done, perhaps.
    Accepted,
    /// 204: it is done, and there is nothing to say.
    NoContent,
    /// 206: here is the part that was asked for.
    PartialContent,
    /// 301: it lives elsewhere for good.
    MovedPermanently,
    /// 302: it lives elsewhere for now.
    Found,
    /// 303: the answer is to be fetched elsewhere.
    SeeOther,
    /// 304: the copy you have is still good.
    NotModified,
    /// 307: to be asked elsewhere, with the same method.
    TemporaryRedirect,
    /// 308: to be asked elsewhere from now on, with the same method.
    PermanentRedirect,
    /// 400: this is not HTTP, or a form of it that could be read in two ways.
    BadRequest,
    /// 401: who asks has to say who they are.
    Unauthorized,
    /// 403: it exists in some sense, and is not served.
    Forbidden,
    /// 404: there is no such file.
    NotFound,
    /// 405: files are only read.
    MethodNotAllowed,
    /// 408: the request took too long to arrive.
    RequestTimeout,
    /// 409: what is wanted contradicts what is.
    Conflict,
    /// 410: there was something, and there will not be again.
    Gone,
    /// 412: it is not, or no longer, what the request was meant for.
    PreconditionFailed,
    /// 413: the body is larger than this server skips.
    ContentTooLarge,
    /// 415: the body is of a kind that is not understood.
    UnsupportedMediaType,
    /// 416: the range lies outside the file.
    RangeNotSatisfiable,
    /// 417: an expectation that this server does not know.
    ExpectationFailed,
    /// 422: the body is understood and makes no sense.
    UnprocessableContent,
    /// 429: who asks has asked too often.
    TooManyRequests,
    /// 431: the header has too many bytes or too many fields.
    HeaderFieldsTooLarge,
    /// 500: reading the file failed.
    InternalServerError,
    /// 501: a transfer coding that this server does not decode.
    NotImplemented,
    /// 502: the server behind this one makes no sense.
    BadGateway,
    /// 503: no descriptor to open the file with.
    ServiceUnavailable,
    /// 504: the server behind this one gives no answer.
    GatewayTimeout,
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

    /// Whether an answer with this status has a body, were it an empty one.
    pub(crate) fn has_body(self) -> bool {
        !matches!(self, Status::NoContent | Status::NotModified)
    }

    fn parts(self) -> (u16, &'static str) {
        match self {
            Status::Ok => (200, "OK"),
            Status::Created => (201, "Created"),
            Status::Accepted => (202, "Accepted"),
            Status::NoContent => (204, "No Content"),
            Status::PartialContent => (206, "Partial Content"),
            Status::MovedPermanently => (301, "Moved Permanently"),
            Status::Found => (302, "Found"),
            Status::SeeOther => (303, "See Other"),
            Status::NotModified => (304, "Not Modified"),
            Status::TemporaryRedirect => (307, "Temporary Redirect"),
            Status::PermanentRedirect => (308, "Permanent Redirect"),
            Status::BadRequest => (400, "Bad Request"),
            Status::Unauthorized => (401, "Unauthorized"),
            Status::Forbidden => (403, "Forbidden"),
            Status::NotFound => (404, "Not Found"),
            Status::MethodNotAllowed => (405, "Method Not Allowed"),
            Status::RequestTimeout => (408, "Request Timeout"),
            Status::Conflict => (409, "Conflict"),
            Status::Gone => (410, "Gone"),
            Status::PreconditionFailed => (412, "Precondition Failed"),
            Status::ContentTooLarge => (413, "Content Too Large"),
            Status::UnsupportedMediaType => (415, "Unsupported Media Type"),
            Status::RangeNotSatisfiable => (416, "Range Not Satisfiable"),
            Status::ExpectationFailed => (417, "Expectation Failed"),
            Status::UnprocessableContent => (422, "Unprocessable Content"),
            Status::TooManyRequests => (429, "Too Many Requests"),
            Status::HeaderFieldsTooLarge => (431, "Request Header Fields Too Large"),
            Status::InternalServerError => (500, "Internal Server Error"),
            Status::NotImplemented => (501, "Not Implemented"),
            Status::BadGateway => (502, "Bad Gateway"),
            Status::ServiceUnavailable => (503, "Service Unavailable"),
            Status::GatewayTimeout => (504, "Gateway Timeout"),
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
