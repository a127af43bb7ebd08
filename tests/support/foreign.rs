//! C libraries for comparing, loaded at run time.
//!
//! A library is loaded with its names kept to itself (`RTLD_LOCAL`) and called through the addresses found there, so they
//! cannot be mixed up with names that zerovent's own C interface exports.

/// A table of a library's functions, `Api`, with `loaded`, which says why there is none, and `api`, for those who know that there is.
///
/// Who invokes it vouches that each type is that of the function's declaration, and that the library's initialisers do
/// nothing but set up its own variables.
macro_rules! library {
    ($file:expr; $($name:ident: ($($argument:ty),* $(; $variadic:tt)?) $(-> $result:ty)?;)*) => {
        /// The addresses of the functions, and the library that holds them.
        struct Api {
            $($name: unsafe extern "C" fn($($argument),* $(, $variadic)?) $(-> $result)?,)*
            _library: libloading::Library,
        }

        impl Api {
            fn load() -> Result<Api, libloading::Error> {
                // SAFETY: the initialisers are harmless, as the invoker knows.
                let library = unsafe { libloading::Library::new::<&std::ffi::OsStr>($file.as_ref()) }?;
                Ok(Api {
                    // SAFETY: the type is right, as the invoker knows.
                    $($name: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }?,)*
                    _library: library,
                })
            }
        }

        static API: std::sync::OnceLock<Result<Api, String>> = std::sync::OnceLock::new();

        fn loaded() -> &'static Result<Api, String> {
            API.get_or_init(|| Api::load().map_err(|error| error.to_string()))
        }

        /// The library.
        fn api() -> &'static Api {
            loaded().as_ref().expect("whoever compares has asked whether the library is there")
        }
    };
}

pub(crate) use library;
