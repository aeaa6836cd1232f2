//! The report as one page: no script, no address, every text escaped.

use super::Diff;
use super::report::sections;

/// The page.
pub(super) fn page(diff: &Diff) -> String {
    let verdict = if diff.identical { "identical" } else { "different" };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>kolm diff: {verdict}</title>\n<style>{STYLE}</style></head><body>\n<h1>kolm diff: {verdict}</h1>\n<p><code>a {}</code><br><code>b {}</code></p>\n",
        escaped(&diff.cid[0]),
        escaped(&diff.cid[1])
    );
    for section in sections(diff) {
        out.push_str(&format!("<h2>{}</h2>\n<p>{}</p>\n", escaped(section.title), escaped(&section.summary)));
        if section.rows.is_empty() {
            continue;
        }
        let head: String = section.columns.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect();
        out.push_str(&format!("<table><thead><tr>{head}</tr></thead><tbody>\n"));
        for row in &section.rows {
            let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
            out.push_str(&format!("<tr>{cells}</tr>\n"));
        }
        out.push_str("</tbody></table>\n");
    }
    out.push_str("</body></html>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b1b1b;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:1.6rem 0 .2rem}p{margin:.2rem 0}\
table{border-collapse:collapse;margin:.4rem 0;display:block;overflow-x:auto}\
th,td{border:1px solid #ccc;padding:.2rem .5rem;text-align:left;vertical-align:top;font:13px/1.4 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}\
th{background:#f0f0f0}code{overflow-wrap:anywhere}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_stays_text() {
        assert_eq!(escaped("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
