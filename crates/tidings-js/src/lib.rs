//! The Tidings client for browsers, as one script for a server to embed.
//!
//! The facade's feature `js` serves it beside the endpoints, so that a page needs nothing else:
//!
//! ```html
//! <script type="module">
//!   import { Tidings } from "/realtime/tidings.js";
//!   const room = new Tidings("/realtime").join("news");
//!   room.on("headline", (headline) => console.log(headline));
//! </script>
//! ```
//!
//! The modules it is made of, their types and their tests stand in this crate's folder, which is also the npm package
//! `tidings`. `npm run bundle` makes the script from them; it is committed, so that cargo needs no Node.

/// The script: an ES module that exports `Tidings` and `TidingsError`.
pub const SCRIPT: &str = include_str!("../tidings.js");

/// The media type to serve it with. A browser takes no module of another one.
pub const MEDIA_TYPE: &str = "text/javascript; charset=utf-8";

/// The types, for editors that want them beside the script.
pub const TYPES: &str = include_str!("../tidings.d.ts");

#[cfg(test)]
mod tests {
    #[test]
    fn the_script_exports_what_pages_import() {
        let exports = super::SCRIPT.rsplit_once("export{").map(|(_, exports)| exports).unwrap();
        for name in ["as Tidings,", "as TidingsError}"] {
            assert!(exports.contains(name), "{exports}");
        }
    }
}
