//! Who answers which request: patterns, and what is called when one of them matches.

use std::fmt;

use super::StaticFiles;
use super::message::Request;
use super::responder::Responder;
use crate::EventBase;

/// What is called with a request and the duty to answer it.
pub(crate) type Handler<C> = Box<dyn FnMut(&mut EventBase<C>, Request, Responder)>;

/// What a server serves: handlers by method and path, and something for all else.
///
/// The first route that matches is taken. A request whose path has routes, but none for its method, is answered
/// 405; one without any route goes to the fallback, and without a fallback is answered 404.
///
/// # Examples
/// ```
/// use zerovent::http::{Response, Routes, StaticFiles, Status};
///
/// let routes = Routes::<()>::new()
///     .route("GET", "/hello", |_base, _request, responder| {
///         let _ = responder.answer(Response::text(Status::Ok, "hello, world").unwrap());
///     })
///     .route("POST", "/echo/*", |_base, mut request, responder| {
///         let mut response = Response::new(Status::Ok);
///         response.body().add_buffer(request.body()).unwrap();
///         let _ = responder.answer(response);
///     })
///     .files(StaticFiles::new(".")?);
/// # Ok::<(), zerovent::Error>(())
/// ```
pub struct Routes<C> {
    map: Map,
    handlers: Vec<Handler<C>>,
    files: Option<StaticFiles>,
}

impl<C> Routes<C> {
    /// No routes and no fallback: everything is answered 404.
    #[must_use]
    pub fn new() -> Self {
        Routes { map: Map::default(), handlers: Vec::new(), files: None }
    }

    /// Calls `handler` for requests with `method` whose decoded path is `pattern`, or lies beneath it if it ends in
    /// `/*`. A route for GET answers HEAD too: the server leaves the body out.
    #[must_use]
    #[doc(alias = "evhttp_set_cb")]
    pub fn route(
        mut self,
        method: &str,
        pattern: &str,
        handler: impl FnMut(&mut EventBase<C>, Request, Responder) + 'static,
    ) -> Self {
        self.map.add(method, pattern, self.handlers.len());
        self.handlers.push(Box::new(handler));
        self
    }

    /// Calls `handler` for all requests that have no route, in place of files.
    #[must_use]
    #[doc(alias = "evhttp_set_gencb")]
    pub fn fallback(mut self, handler: impl FnMut(&mut EventBase<C>, Request, Responder) + 'static) -> Self {
        self.map.fallback = Some(self.handlers.len());
        self.handlers.push(Box::new(handler));
        self
    }

    /// Answers all requests that have no route with files, in place of a handler.
    #[must_use]
    pub fn files(mut self, files: StaticFiles) -> Self {
        self.map.fallback = None;
        self.files = Some(files);
        self
    }

    pub(crate) fn into_parts(self) -> (Map, Vec<Handler<C>>, Option<StaticFiles>) {
        (self.map, self.handlers, self.files)
    }
}

impl<C> Default for Routes<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> From<StaticFiles> for Routes<C> {
    fn from(files: StaticFiles) -> Self {
        Routes::new().files(files)
    }
}

impl<C> fmt::Debug for Routes<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("map", &self.map).field("files", &self.files).finish_non_exhaustive()
    }
}

/// The patterns alone: which request goes where.
#[derive(Debug, Default)]
pub(crate) struct Map {
    routes: Vec<Route>,
    fallback: Option<usize>,
}

#[derive(Debug)]
struct Route {
    method: String,
    pattern: Pattern,
    handler: usize,
}

#[derive(Debug)]
enum Pattern {
    Exactly(String),
    /// Everything that starts so; it ends in a slash, or is empty.
    Beneath(String),
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Handler(usize),
    /// To the files, or to nobody if there are none.
    Files,
    /// The path exists, and these are the methods it has.
    NotAllowed(String),
}

impl Map {
    /// Whether every request goes to the files.
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.fallback.is_none()
    }

    fn add(&mut self, method: &str, pattern: &str, handler: usize) {
        let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
        let pattern = match pattern.strip_suffix('*') {
            Some(prefix) if prefix.is_empty() || prefix.ends_with('/') => Pattern::Beneath(prefix.to_owned()),
            _ => Pattern::Exactly(pattern.to_owned()),
        };
        self.routes.push(Route { method: method.to_owned(), pattern, handler });
    }

    /// `path` is decoded, and without its leading slash.
    pub(crate) fn find(&self, method: &str, path: &[u8]) -> Destination {
        let mut allowed = String::new();
        for route in self.routes.iter().filter(|route| route.pattern.matches(path)) {
            if route.method == method || (route.method == "GET" && method == "HEAD") {
                return Destination::Handler(route.handler);
            }
            allowed.push_str(if allowed.is_empty() { "" } else { ", " });
            allowed.push_str(if route.method == "GET" { "GET, HEAD" } else { &route.method });
        }
        match self.fallback {
            _ if !allowed.is_empty() => Destination::NotAllowed(allowed),
            Some(handler) => Destination::Handler(handler),
            None => Destination::Files,
        }
    }
}

impl Pattern {
    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Pattern::Exactly(whole) => path == whole.as_bytes(),
            Pattern::Beneath(prefix) => path.starts_with(prefix.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_route_that_matches_is_taken() {
        let mut map = Map::default();
        map.add("GET", "/a", 0);
        map.add("POST", "/a", 1);
        map.add("PUT", "/b/*", 2);
        map.add("GET", "/b/c", 3);
        map.add("GET", "/star*", 4);
        let allowed = |methods: &str| Destination::NotAllowed(methods.to_owned());
        let table = [
            ("GET", "/a", Destination::Handler(0)),
            ("HEAD", "/a", Destination::Handler(0)),
            ("POST", "/a", Destination::Handler(1)),
            ("get", "/a", allowed("GET, HEAD, POST")),
            ("GET", "/a/", Destination::Files),
            ("PUT", "/b/", Destination::Handler(2)),
            ("PUT", "/b/c/d", Destination::Handler(2)),
            ("PUT", "/b", Destination::Files),
            ("GET", "/b/c", Destination::Handler(3)),
            ("GET", "/b/d", allowed("PUT")),
            ("GET", "/star*", Destination::Handler(4)),
            ("GET", "/stars", Destination::Files),
        ];
        for (method, path, destination) in table {
            assert_eq!(map.find(method, &path.as_bytes()[1..]), destination, "{method} {path}");
        }
        map.add("GET", "/*", 8);
        map.fallback = Some(9);
        assert_eq!(map.find("GET", b"x/y"), Destination::Handler(8));
        assert_eq!(map.find("GET", b""), Destination::Handler(8));
        assert_eq!(Map { routes: Vec::new(), fallback: Some(9) }.find("GET", b"x"), Destination::Handler(9));
    }
}
