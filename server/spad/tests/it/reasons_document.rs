//! docs/reasons.md names every reason there is, as the code explains it.

use std::fmt::Write;
use std::path::Path;

use spad_engine::audit::event::Event;
use spad_model::Reason;

const HEAD: &str = "\
# Reasons

Every packet that passes the kernel's filter ends in exactly one of these. `spad status` counts them; audit lines
carry them as `reason`. This page is made from the code: `UPDATE_DOCS=1 cargo test -p spad --test it reasons`.

- **opened**: authentic, and the kernel let the sender in; or, for `knock_opened`, all knocks of a sequence came.
- **closed**: authentic, and the sender's grants were withdrawn.
- **started**: authentic, and a declared command was started; or, for `knock_ran`, a door's was asked for.
- **refused**: authentic, and refused; one audit line, event `refuse`, names the client.
- **counted**: not authentic. Only counted, and summed up once a minute in a line with event `noise`.

In the order of the server's checks ([protocol.md](protocol.md), section 7):

| reason | class | meaning |
|---|---|---|
";

const EVENTS: &str = "
# Events

What an audit line may be about, its `event`:

| event | meaning |
|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for reason in Reason::ALL {
        let (word, class, meaning) = (
            reason.as_str(),
            reason.class().as_str(),
            reason.explanation(),
        );
        let _ = writeln!(page, "| `{word}` | {class} | {meaning} |");
    }
    page.push_str(EVENTS);
    for event in Event::ALL {
        let _ = writeln!(page, "| `{}` | {} |", event.as_str(), event.explanation());
    }
    page
}

#[test]
fn the_page_of_reasons_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reasons.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/reasons.md is not what the code says; UPDATE_DOCS=1 cargo test -p spad --test it reasons writes it"
    );
}
