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

/// Script that measures all elements after the browser's layout, and writes the result where
/// `--dump-dom` prints it.
const MEASURE: &str = r##"<script>
const box = element => { const b = element.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };
const seen = element => getComputedStyle(element).display !== "none";
const svg = [...document.querySelectorAll("svg")].filter(seen);
const colour = (element, property) => getComputedStyle(element)[property];
const measured = {
  pictures: svg.map(one => one.getAttribute("class")),
  whole: box(svg[0]),
  tiles: [...svg[0].querySelectorAll("g")].map(g => ({
    tile: box(g.querySelector("rect")), fill: colour(g.querySelector("rect"), "fill"),
    texts: [...g.querySelectorAll("text")].map(box), name: g.querySelector("title").textContent })),
  text: svg[0].querySelector("text") && colour(svg[0].querySelector("text"), "fill"),
  ink: colour(document.body, "color"), paper: colour(document.body, "backgroundColor"),
  rows: document.querySelectorAll("#lock tr").length, sizes: document.querySelectorAll("#sizes tr").length,
  facts: document.querySelectorAll(".facts tr").length,
  window: innerWidth, page: document.documentElement.scrollWidth,
};
const answer = document.createElement("pre");
answer.id = "measured";
answer.textContent = JSON.stringify(measured);
document.body.append(answer);
</script>"##;

struct Browser {
    test: TestDir,
    page: PathBuf,
    /// Request lines that reached the proxy: every request that would have left this machine.
    asked: Arc<Mutex<Vec<String>>>,
    proxy: String,
}

/// Window width and colour scheme. No window of this browser is narrower than 500 pixels.
#[derive(Clone, Copy)]
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
            .arg(format!("--window-size={},1400", look.width))
            .arg(format!(
                "--blink-settings=preferredColorScheme={}",
                u8::from(!look.dark)
            ))
            .args(words)
            .arg(format!("file://{}", page.display()));
        browser.run().succeeded()
    }

    /// Returns the measurements of a script in a copy of the page; the page itself permits no
    /// script.
    fn measure(&self, look: Look) -> Value {
        let text = fs_err::read_to_string(&self.page).unwrap();
        let policy = "default-src 'none'; ";
        assert!(text.contains(policy));
        let copy = text.replace(policy, "script-src 'unsafe-inline'; ");
        let copy = copy.replace("</body>", &format!("{MEASURE}</body>"));
        let copy = self.test.write("copy.html", &copy);
        let dom = self.open(&copy, look, &["--dump-dom"]).text();
        let json = dom.split("<pre id=\"measured\">").nth(1);
        let json = json.unwrap_or_else(|| panic!("not measured: {dom}"));
        let json = json.split("</pre>").next().unwrap();
        serde_json::from_str(&json.replace("&amp;", "&")).unwrap()
    }

    /// Counts the pixels of a screenshot by colour.
    fn colours(&self, look: Look) -> BTreeMap<[u8; 3], usize> {
        let picture = self.test.path("picture.png");
        let word = format!("--screenshot={}", picture.display());
        self.open(&self.page, look, &[&word]);
        let decoder = png::Decoder::new(BufReader::new(fs_err::File::open(&picture).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (look.width, 1400));
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

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_report_is_drawn_whole_and_readable_and_asks_nobody() {
    let browser = Browser::new();
    let of_lock = fs_err::read_to_string(shared().dir.join("share/condense.lock")).unwrap();
    let locked = of_lock.matches("\n- conda: ").count();
    assert!(locked > 5, "{of_lock}");
    for (width, dark, picture) in [
        (1280, false, "wide"),
        (1280, true, "wide"),
        (500, false, "tall"),
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
        assert_eq!(found["rows"].as_u64(), Some(locked as u64 + 1));
        assert!(found["sizes"].as_u64() >= Some(tiles.len() as u64 - 1));
        assert!(found["facts"].as_u64() > Some(6));
        assert_eq!(found["window"], width);
        assert!(
            found["page"].as_u64() <= found["window"].as_u64(),
            "{found}"
        );
        assert!(contrast(&found["ink"], &found["paper"]) >= 7.0, "{found}");
        // The drawing is visible.
        let colours = browser.colours(look);
        let all: usize = colours.values().sum();
        let (most, count) = colours.iter().max_by_key(|(_, count)| **count).unwrap();
        assert_eq!(most.iter().all(|part| *part < 64), dark, "{most:?}");
        let large = colours
            .values()
            .filter(|count| **count > all / 1000)
            .count();
        assert!(
            large > 6 && *count < all * 9 / 10,
            "{large} colours, {count} of {all} are one"
        );
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
