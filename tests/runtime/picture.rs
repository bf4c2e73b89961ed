//! Tests of the page of `condense report` in a real browser: its drawing, its network requests and
//! its layout.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::harness::{Account, CommandOutput, Run, TestDir, need, parts, shared};

/// Script that measures all elements after the browser's layout, sorts and filters the table of
/// packages as a user would, and writes the results where `--dump-dom` prints them.
const MEASURE: &str = r##"<script>
const box = element => { const b = element.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };
const seen = element => element.getClientRects().length > 0;
const all = selector => [...document.querySelectorAll(selector)];
const colour = (element, property) => getComputedStyle(element)[property];
const parts = text => text.match(/[0-9.]+/g).map(Number);
const luminance = rgb => rgb.slice(0, 3).map(part => part / 255)
  .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
const behind = element => {
  for (let one = element; one; one = one.parentElement) {
    const found = parts(colour(one, "backgroundColor"));
    if (found.length < 4 || found[3] > 0) return found;
  }
};
const ratio = element => {
  const [one, two] = [parts(colour(element, "color")), behind(element)].map(luminance);
  return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
};
const hasText = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
const texts = all("body *").filter(element =>
  !element.closest("svg, script, style") && seen(element) && hasText(element));
const svg = all("svg").filter(seen);
const measured = {
  pictures: svg.map(one => one.getAttribute("class")),
  whole: box(svg[0]),
  tiles: [...svg[0].querySelectorAll("g")].map(g => ({
    tile: box(g.querySelector("rect")), fill: colour(g.querySelector("rect"), "fill"),
    texts: [...g.querySelectorAll("text")].map(box), name: g.querySelector("title").textContent,
    shown: [...g.querySelectorAll("text")].map(text => text.textContent).join("") })),
  text: svg[0].querySelector("text") && colour(svg[0].querySelector("text"), "fill"),
  ink: colour(document.body, "color"), paper: colour(document.body, "backgroundColor"),
  texts: texts.length,
  faint: texts.filter(element => ratio(element) < 4.5).map(element => element.outerHTML.slice(0, 200)),
  rows: all("#lock tbody tr").length, packages: all("#packages tbody tr").length,
  facts: all("#provenance tr").length,
  window: innerWidth, page: document.documentElement.scrollWidth,
  scrolled: all(".frame").filter(one => seen(one) && one.scrollWidth > one.clientWidth + 1).length,
};
const table = document.querySelector("#packages table");
const names = () => [...table.tBodies[0].rows].filter(seen).map(row => row.querySelector(".name").textContent);
const press = at => { table.tHead.rows[0].cells[at].querySelector("button").click(); return names(); };
const last = table.tHead.rows[0].cells.length - 1;
measured.orders = { first: names(), byName: press(0), byNameAgain: press(0), bySize: press(last) };
measured.sorted = [...table.tHead.rows[0].cells].map(cell => cell.getAttribute("aria-sort"));
const input = document.querySelector("#packages input");
input.value = "NUMPY";
input.dispatchEvent(new Event("input"));
measured.filtered = [names(), document.querySelector("#packages output").textContent];
measured.label = input.labels[0].textContent;
const answer = document.createElement("pre");
answer.id = "measured";
answer.textContent = JSON.stringify(measured);
document.body.append(answer);
</script>"##;

/// Page that shows another one in a narrower window than a browser can have, and takes the
/// measurements out of it.
const FRAME: &str = r#"<!DOCTYPE html><body style="margin:0"><script>
onload = () => {
  const found = document.querySelector("iframe").contentDocument.getElementById("measured");
  if (found) document.body.append(document.adoptNode(found));
};
</script>"#;

struct Browser {
    test: TestDir,
    page: PathBuf,
    /// Request lines that reached the proxy: every request that would have left this machine.
    asked: Arc<Mutex<Vec<String>>>,
    proxy: String,
}

/// Smallest width of a window of this browser, in pixels.
const NARROWEST: u32 = 500;

/// Width of the window or of a frame in it, and colour scheme.
#[derive(Clone, Copy, Debug)]
struct Look {
    width: u32,
    dark: bool,
}

impl Browser {
    /// Makes a browser with the report of the installation that tests share.
    fn new() -> Self {
        need(
            Path::new("/usr/bin/chromium").exists(),
            "`chromium` is missing",
        );
        let test = TestDir::new(Account::Ordinary, "picture");
        let page = test.path("report.html");
        let mut report = test.command(parts().path("programs/condense"));
        report.args(["report", "-o", "report.html", "--site", "lumi-g"]);
        report.arg(&shared().dir).run().succeeded();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                log.lock().unwrap().push(line);
                let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
            }
        });
        Self {
            test,
            page,
            asked,
            proxy,
        }
    }

    /// Returns the hosts of all requests so far.
    fn hosts(&self) -> BTreeSet<String> {
        let asked = self.asked.lock().unwrap();
        let targets = asked.iter().filter_map(|line| line.split(' ').nth(1));
        let hosts = targets.map(|target| {
            let target = target.split("://").last().unwrap_or(target);
            let end = target.find(['/', ':']).unwrap_or(target.len());
            target[..end].to_owned()
        });
        hosts.collect()
    }

    /// Loads a page and checks that the browser reports no error.
    fn open(&self, page: &Path, look: Look, words: &[&str]) -> CommandOutput {
        let output = self.load(page, look, words);
        assert!(!output.stderr.contains("CONSOLE"), "{}", output.stderr);
        output
    }

    fn load(&self, page: &Path, look: Look, words: &[&str]) -> CommandOutput {
        let mut browser: Command = self.test.command("/usr/bin/chromium");
        browser
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args([
                "--disable-sync",
                "--disable-domain-reliability",
                "--disable-dev-shm-usage",
            ])
            .args(["--virtual-time-budget=2000", "--enable-logging=stderr"])
            .arg(format!(
                "--user-data-dir={}",
                self.test.path("profile").display()
            ))
            .arg(format!("--proxy-server={}", self.proxy))
            .arg(format!("--window-size={},1400", look.width.max(NARROWEST)))
            .arg(format!(
                "--blink-settings=preferredColorScheme={}",
                u8::from(!look.dark)
            ))
            .args(words)
            .arg(format!("file://{}", page.display()));
        browser.run().succeeded()
    }

    /// Returns a page that shows a text of HTML in the width of a look.
    fn in_width(&self, text: &str, look: Look) -> PathBuf {
        if look.width >= NARROWEST {
            return self.test.write("copy.html", text);
        }
        let text = text.replace('&', "&amp;").replace('"', "&quot;");
        let width = look.width;
        let frame = format!(
            "{FRAME}<iframe style=\"border:0;width:{width}px;height:1400px\" srcdoc=\"{text}\"></iframe></body>"
        );
        self.test.write("frame.html", &frame)
    }

    /// Returns the measurements of a script in a copy of the page; the page itself permits no
    /// script but its own.
    fn measure(&self, look: Look) -> Value {
        let text = fs_err::read_to_string(&self.page).unwrap();
        let (before, behind) = text.split_once("script-src 'sha256-").unwrap();
        let (_, behind) = behind.split_once('\'').unwrap();
        let copy = format!("{before}script-src 'unsafe-inline'{behind}");
        let copy = copy.replace("</body>", &format!("{MEASURE}</body>"));
        let copy = self.in_width(&copy, look);
        let dom = self.open(&copy, look, &["--dump-dom"]).text();
        let json = dom.split("<pre id=\"measured\">").nth(1);
        let json = json.unwrap_or_else(|| panic!("not measured: {dom}"));
        let json = json.split("</pre>").next().unwrap();
        let json = json.replace("&lt;", "<").replace("&gt;", ">");
        serde_json::from_str(&json.replace("&amp;", "&")).unwrap()
    }

    /// Counts the pixels of a screenshot by colour.
    fn colours(&self, look: Look) -> BTreeMap<[u8; 3], usize> {
        let picture = self.test.path("picture.png");
        let word = format!("--screenshot={}", picture.display());
        let text = fs_err::read_to_string(&self.page).unwrap();
        // An unchanged page: its policy must let its own script run, or the browser complains.
        self.open(&self.in_width(&text, look), look, &[&word]);
        let decoder = png::Decoder::new(BufReader::new(fs_err::File::open(&picture).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let width = look.width.max(NARROWEST);
        assert_eq!((info.width, info.height), (width, 1400));
        let mut colours = BTreeMap::new();
        for pixel in pixels.chunks(info.color_type.samples()) {
            *colours.entry([pixel[0], pixel[1], pixel[2]]).or_default() += 1;
        }
        colours
    }
}

fn numbers(value: &Value) -> [f64; 4] {
    let numbers = value.as_array().unwrap().iter();
    let numbers: Vec<f64> = numbers.map(|number| number.as_f64().unwrap()).collect();
    numbers.try_into().unwrap()
}

fn is_in([left, top, right, bottom]: [f64; 4], whole: [f64; 4]) -> bool {
    const ROUNDED: f64 = 0.6;
    left >= whole[0] - ROUNDED
        && top >= whole[1] - ROUNDED
        && right <= whole[2] + ROUNDED
        && bottom <= whole[3] + ROUNDED
}

/// Returns the contrast ratio of WCAG 2.1 for two colours in the form `rgb(1, 2, 3)`.
fn contrast(one: &Value, other: &Value) -> f64 {
    let luminance = |value: &Value| {
        let text = value.as_str().unwrap();
        let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.');
        let numbers = numbers.filter_map(|word| word.parse::<f64>().ok()).take(3);
        let parts = numbers.map(|number| {
            let part = number / 255.0;
            if part <= 0.03928 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        let weighed = parts.zip([0.2126, 0.7152, 0.0722]);
        weighed.map(|(part, weight)| part * weight).sum::<f64>()
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// Checks that the table of packages was sorted and filtered.
fn check_tables(found: &Value) {
    let names = |order: &str| -> Vec<&str> {
        let names = found["orders"][order].as_array().unwrap().iter();
        names.map(|name| name.as_str().unwrap()).collect()
    };
    let by_name = names("byName");
    let lower: Vec<String> = by_name.iter().map(|name| name.to_lowercase()).collect();
    assert!(by_name.len() > 8, "{found}");
    let place = |name: &str| lower.iter().position(|found| found == name).unwrap();
    assert!(place("libffi") < place("numpy") && place("numpy") < place("python"));
    let mut again = names("byNameAgain");
    assert_ne!(again, by_name);
    again.reverse();
    assert_eq!(again, by_name);
    assert_eq!(names("bySize"), names("first"));
    let sorted = found["sorted"].as_array().unwrap();
    let marked: Vec<&Value> = sorted.iter().filter(|mark| !mark.is_null()).collect();
    assert_eq!(marked, ["descending"]);
    assert!(sorted.last().unwrap() == "descending", "{found}");
    let [shown, count] = found["filtered"].as_array().unwrap().as_slice() else {
        panic!("{found}");
    };
    assert_eq!(*shown, serde_json::json!(["numpy"]));
    let of = format!("1 of {}", found["packages"]);
    assert_eq!(count.as_str(), Some(of.as_str()));
    assert_eq!(found["label"], "Filter packages ");
}

/// Checks that the drawing is visible: the colours of the picture are many, and dark if asked for.
fn check_drawing(browser: &Browser, look: Look) {
    let colours = browser.colours(look);
    let all: usize = colours.values().sum();
    let (most, count) = colours.iter().max_by_key(|(_, count)| **count).unwrap();
    assert_eq!(most.iter().all(|part| *part < 64), look.dark, "{most:?}");
    let large = colours
        .values()
        .filter(|count| **count > all / 1000)
        .count();
    assert!(
        large > 6 && *count < all * 9 / 10,
        "{large} colours, {count} of {all} are one"
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_report_is_drawn_whole_and_readable_and_asks_nobody() {
    let browser = Browser::new();
    let of_lock = fs_err::read_to_string(shared().dir.join("share/condense.lock")).unwrap();
    let locked = of_lock.matches("\n- conda: ").count();
    assert!(locked > 5, "{of_lock}");
    for (width, dark, picture) in [
        (1440, false, "wide"),
        (1440, true, "wide"),
        (768, false, "medium"),
        (768, true, "medium"),
        (320, false, "tall"),
        (320, true, "tall"),
    ] {
        let look = Look { width, dark };
        let found = browser.measure(look);
        // The page has one drawing, and all tiles are in it.
        assert_eq!(found["pictures"], serde_json::json!([picture]));
        let whole = numbers(&found["whole"]);
        let tiles = found["tiles"].as_array().unwrap();
        assert!(tiles.len() > 8, "{}", tiles.len());
        let mut area = 0.0;
        for (number, tile) in tiles.iter().enumerate() {
            let place = numbers(&tile["tile"]);
            let [left, top, right, bottom] = place;
            assert!(right - left > 1.0 && bottom - top > 1.0, "{tile}");
            // A name is shown whole or not at all.
            let name = tile["name"].as_str().unwrap().split([' ', ':']).next();
            let shown = tile["shown"].as_str().unwrap();
            assert!(
                shown.is_empty() || shown.starts_with(name.unwrap()),
                "{tile}"
            );
            assert!(is_in(place, whole), "{tile} in {whole:?}");
            for text in tile["texts"].as_array().unwrap() {
                assert!(is_in(numbers(text), place), "{tile}");
            }
            assert!(contrast(&tile["fill"], &found["text"]) >= 4.5, "{tile}");
            for other in &tiles[..number] {
                let other = numbers(&other["tile"]);
                let across = right.min(other[2]) - left.max(other[0]);
                let down = bottom.min(other[3]) - top.max(other[1]);
                assert!(across < 0.6 || down < 0.6, "{tile} over {other:?}");
            }
            area += (right - left) * (bottom - top);
        }
        let of_whole = (whole[2] - whole[0]) * (whole[3] - whole[1]);
        assert!((area / of_whole - 1.0).abs() < 0.02, "{area} of {of_whole}");
        let names: Vec<&str> = tiles
            .iter()
            .map(|tile| tile["name"].as_str().unwrap())
            .collect();
        assert!(
            names.iter().any(|name| name.starts_with("numpy ")),
            "{names:?}"
        );
        // All information is in the text as well, and no element exceeds the page.
        assert_eq!(found["rows"].as_u64(), Some(locked as u64));
        assert!(found["packages"].as_u64() >= Some(tiles.len() as u64 - 1));
        assert!(found["facts"].as_u64() > Some(6));
        assert_eq!(found["window"], width);
        assert!(
            found["page"].as_u64() <= found["window"].as_u64(),
            "{found}"
        );
        assert_eq!(found["scrolled"], 0, "a table is wider than its frame");
        check_tables(&found);
        // All text has the contrast that WCAG's level AA asks for.
        assert!(found["texts"].as_u64() > Some(50), "{found}");
        assert_eq!(found["faint"], serde_json::json!([]), "{look:?}");
        assert!(contrast(&found["ink"], &found["paper"]) >= 7.0, "{found}");
        check_drawing(&browser, look);
    }
    // The browser requests its own updates, whatever it shows; it requests nothing that the page
    // names.
    let text = fs_err::read_to_string(&browser.page).unwrap();
    for host in browser.hosts() {
        assert!(!text.contains(&host), "{host}");
    }
    let look = Look {
        width: 500,
        dark: false,
    };
    let leaking = "<img src=\"http://leak.invalid/x.png\"></body>";
    let text = text.replace("</body>", leaking);
    let kept = browser.test.write("kept.html", &text);
    let policy = text.find("<meta http-equiv").unwrap();
    let (before, behind) = text.split_at(policy);
    let (_, behind) = behind.split_once('>').unwrap();
    let open = browser
        .test
        .write("open.html", &format!("{before}{behind}"));
    let said = browser.load(&kept, look, &["--dump-dom"]).stderr;
    assert!(
        said.contains("CONSOLE") && said.contains("Content Security Policy"),
        "{said}"
    );
    assert!(!browser.hosts().contains("leak.invalid"));
    browser.load(&open, look, &["--dump-dom"]);
    assert!(browser.hosts().contains("leak.invalid"));
}
