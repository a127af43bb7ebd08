//! The names of evdns, evhttp, evrpc and bufferevents over OpenSSL, which zerovent does not have. Most programs are linked so that one
//! missing name keeps them from starting, whether they use it or not; so each exists, gives the error that its header documents, and says once
//! in the log that it is not there.
//!
//! They take no arguments: with this calling convention what a caller passes is the caller's to clear away.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::addrinfo;

use super::log;

/// Says it the first time.
fn say(said: &AtomicBool, name: &str) {
    // Relaxed: it stands for itself.
    if !said.swap(true, Ordering::Relaxed) {
        log::warn(format_args!("{name}: zerovent has no {}", part_of(name)));
    }
}

fn part_of(name: &str) -> &'static str {
    match name.split('_').next() {
        Some("evdns") => "evdns",
        Some("evhttp") => "evhttp",
        Some("evrpc") => "evrpc",
        _ => "bufferevents over OpenSSL",
    }
}

/// Defines names that give `$value`, in rows of one kind of result.
macro_rules! absent {
    ($($kind:ty = $value:expr => { $($name:ident)* })*) => { $($(
        #[unsafe(no_mangle)]
        extern "C-unwind" fn $name() -> $kind {
            static SAID: AtomicBool = AtomicBool::new(false);
            say(&SAID, stringify!($name));
            $value
        }
    )*)* };
}

// evdns: `event2/dns.h`, `event2/dns_compat.h`.
absent! {
    *mut c_void = ptr::null_mut() => {
        evdns_base_new evdns_get_global_base
        evdns_base_resolve_ipv4 evdns_base_resolve_ipv6 evdns_base_resolve_reverse evdns_base_resolve_reverse_ipv6
        evdns_add_server_port evdns_add_server_port_with_base
    }
    c_int = -1 => {
        evdns_base_clear_nameservers_and_suspend evdns_base_get_nameserver_addr evdns_base_load_hosts
        evdns_base_nameserver_add evdns_base_nameserver_ip_add evdns_base_nameserver_sockaddr_add
        evdns_base_resume evdns_base_set_option evdns_clear_nameservers_and_suspend evdns_init evdns_nameserver_add
        evdns_nameserver_ip_add evdns_resolve_ipv4 evdns_resolve_ipv6 evdns_resolve_reverse
        evdns_resolve_reverse_ipv6 evdns_resume evdns_server_request_add_a_reply evdns_server_request_add_aaaa_reply
        evdns_server_request_add_cname_reply evdns_server_request_add_ptr_reply evdns_server_request_add_reply
        evdns_server_request_drop evdns_server_request_get_requesting_addr evdns_server_request_respond
        evdns_set_option
    }
    // The file could not be opened.
    c_int = 1 => { evdns_base_resolv_conf_parse evdns_resolv_conf_parse }
    c_int = 0 => { evdns_base_count_nameservers evdns_count_nameservers }
    () = () => {
        evdns_base_clear_host_addresses evdns_base_free evdns_base_search_add evdns_base_search_clear
        evdns_base_search_ndots_set evdns_cancel_request evdns_close_server_port evdns_getaddrinfo_cancel
        evdns_search_add evdns_search_clear evdns_search_ndots_set evdns_server_request_set_flags evdns_set_log_fn
        evdns_set_random_bytes_fn evdns_set_transaction_id_fn evdns_shutdown
    }
}

// evhttp: `event2/http.h`, `event2/http_compat.h`.
absent! {
    *mut c_void = ptr::null_mut() => {
        evhttp_accept_socket_with_handle evhttp_bind_listener evhttp_bind_socket_with_handle
        evhttp_bound_socket_get_listener evhttp_connection_base_bufferevent_new evhttp_connection_base_new
        evhttp_connection_get_addr evhttp_connection_get_base evhttp_connection_get_bufferevent
        evhttp_connection_get_server evhttp_connection_new evhttp_decode_uri evhttp_encode_uri evhttp_find_header
        evhttp_htmlescape evhttp_new evhttp_request_get_connection evhttp_request_get_evhttp_uri
        evhttp_request_get_host evhttp_request_get_input_buffer evhttp_request_get_input_headers
        evhttp_request_get_output_buffer evhttp_request_get_output_headers evhttp_request_get_response_code_line
        evhttp_request_get_uri evhttp_request_new evhttp_start evhttp_uri_get_fragment evhttp_uri_get_host
        evhttp_uri_get_path evhttp_uri_get_query evhttp_uri_get_scheme evhttp_uri_get_userinfo evhttp_uri_join
        evhttp_uri_new evhttp_uri_parse evhttp_uri_parse_with_flags evhttp_uridecode evhttp_uriencode
    }
    c_int = -1 => {
        evhttp_accept_socket evhttp_add_header evhttp_add_server_alias evhttp_add_virtual_host evhttp_bind_socket
        evhttp_bound_socket_get_fd evhttp_connection_set_flags evhttp_decode_uri_internal evhttp_del_cb
        evhttp_make_request evhttp_parse_query evhttp_parse_query_str evhttp_remove_header
        evhttp_remove_server_alias evhttp_remove_virtual_host evhttp_set_cb evhttp_set_flags evhttp_uri_get_port
        evhttp_uri_set_fragment evhttp_uri_set_host evhttp_uri_set_path evhttp_uri_set_port evhttp_uri_set_query
        evhttp_uri_set_scheme evhttp_uri_set_userinfo
    }
    c_int = 0 => { evhttp_request_get_command evhttp_request_get_response_code evhttp_request_is_owned }
    () = () => {
        evhttp_cancel_request evhttp_clear_headers evhttp_connection_free evhttp_connection_free_on_completion
        evhttp_connection_get_peer evhttp_connection_set_base evhttp_connection_set_closecb
        evhttp_connection_set_family evhttp_connection_set_initial_retry_tv evhttp_connection_set_local_address
        evhttp_connection_set_local_port evhttp_connection_set_max_body_size
        evhttp_connection_set_max_headers_size evhttp_connection_set_retries evhttp_connection_set_timeout
        evhttp_connection_set_timeout_tv evhttp_del_accept_socket evhttp_foreach_bound_socket evhttp_free
        evhttp_request_free evhttp_request_own evhttp_request_set_chunked_cb evhttp_request_set_error_cb
        evhttp_request_set_header_cb evhttp_request_set_on_complete_cb evhttp_send_error evhttp_send_reply
        evhttp_send_reply_chunk evhttp_send_reply_chunk_with_cb evhttp_send_reply_end evhttp_send_reply_start
        evhttp_set_allowed_methods evhttp_set_bevcb evhttp_set_default_content_type evhttp_set_gencb
        evhttp_set_max_body_size evhttp_set_max_headers_size evhttp_set_timeout evhttp_set_timeout_tv
        evhttp_uri_free evhttp_uri_set_flags
    }
}

// evrpc: `event2/rpc.h`, `event2/rpc_compat.h`.
absent! {
    *mut c_void = ptr::null_mut() => {
        evrpc_add_hook evrpc_get_reply evrpc_get_request evrpc_hook_get_connection evrpc_init evrpc_make_request_ctx
        evrpc_pool_new evrpc_request_get_pool
    }
    c_int = -1 => {
        evrpc_hook_find_meta evrpc_make_request evrpc_register_generic evrpc_register_rpc evrpc_resume_request
        evrpc_send_request_generic evrpc_unregister_rpc
    }
    // No such hook was there.
    c_int = 0 => { evrpc_remove_hook }
    () = () => {
        evrpc_free evrpc_hook_add_meta evrpc_pool_add_connection evrpc_pool_free evrpc_pool_remove_connection
        evrpc_pool_set_timeout evrpc_request_done evrpc_request_set_cb evrpc_request_set_pool
    }
}

// OpenSSL: `event2/bufferevent_ssl.h`.
absent! {
    *mut c_void = ptr::null_mut() => {
        bufferevent_openssl_filter_new bufferevent_openssl_get_ssl bufferevent_openssl_socket_new
    }
    c_int = -1 => { bufferevent_openssl_get_allow_dirty_shutdown bufferevent_ssl_renegotiate }
    c_ulong = 0 => { bufferevent_get_openssl_error }
    () = () => { bufferevent_openssl_set_allow_dirty_shutdown }
}

/// Programs print it, so it is never null.
#[unsafe(no_mangle)]
extern "C-unwind" fn evdns_err_to_string(_error: c_int) -> *const c_char {
    const TEXT: &CStr = c"zerovent has no evdns";
    TEXT.as_ptr()
}

type Resolved = unsafe extern "C-unwind" fn(c_int, *mut addrinfo, *mut c_void);

/// Fails as it does without name servers: by its callback, at once.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evdns_getaddrinfo(
    _base: *mut c_void,
    _host: *const c_char,
    _service: *const c_char,
    _hints: *const addrinfo,
    callback: Option<Resolved>,
    arg: *mut c_void,
) -> *mut c_void {
    static SAID: AtomicBool = AtomicBool::new(false);
    say(&SAID, "evdns_getaddrinfo");
    if let Some(callback) = callback {
        // SAFETY: C3, and nothing is entered.
        unsafe { callback(libc::EAI_FAIL, ptr::null_mut(), arg) };
    }
    ptr::null_mut()
}
