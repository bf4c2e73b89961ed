//! Responsible for the text of a dry run: the plan, the packages in columns, and the expected
//! result.

use std::fmt;

use indicatif::HumanBytes;

use super::{Preview, count_of};

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.plan.trim_end().lines() {
            writeln!(f, "{}", self.known_line(line))?;
        }
        if let Some(target) = &self.target {
            writeln!(f, "solved for    {target}")?;
        }
        self.show_changes(f)?;
        self.show_packages(f)?;
        self.show_pip(f)?;
        self.show_result(f)
    }
}

impl Preview {
    /// Returns a line of the plan, with the mount point and the codec if they are known by now.
    fn known_line(&self, line: &str) -> String {
        if let (true, Some(path)) = (line.starts_with("mount point "), &self.mount_point) {
            return format!("mount point   {}", path.display());
        }
        if let (true, Some(compression)) = (line.contains(", or gzip:6 where"), &self.compression) {
            return format!("image         SquashFS, {compression}");
        }
        line.to_owned()
    }

    fn show_changes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return Ok(());
        }
        let mut rows = vec![["CHANGE", "NAME", "FROM", "TO"].map(str::to_owned)];
        for change in &self.changes {
            let shown = |version: &Option<String>| version.clone().unwrap_or_default();
            rows.push([
                change.change.to_owned(),
                change.name.clone(),
                shown(&change.from),
                shown(&change.to),
            ]);
        }
        writeln!(f)?;
        write_table(f, &rows)
    }

    fn show_packages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.packages.is_empty() {
            return Ok(());
        }
        let mut rows = vec![["NAME", "VERSION", "BUILD", "SIZE", "CHANNEL"].map(str::to_owned)];
        for package in &self.packages {
            let channel = package.channel.trim_end_matches('/');
            let channel = channel.rsplit('/').next().unwrap_or(channel);
            rows.push([
                package.name.clone(),
                package.version.clone(),
                package.build.clone(),
                shown_size(package.size),
                channel.to_owned(),
            ]);
        }
        writeln!(f)?;
        write_table(f, &rows)?;
        let all: u64 = self
            .packages
            .iter()
            .filter_map(|package| package.size)
            .sum();
        let packages = count_of(self.packages.len(), "package");
        writeln!(f, "{packages}, {}", HumanBytes(all))
    }

    fn show_pip(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pip.is_empty() {
            let mut rows = vec![["PIP", "VERSION", "SIZE"].map(str::to_owned)];
            for package in &self.pip {
                let size = shown_size(package.size);
                rows.push([package.name.clone(), package.version.clone(), size]);
            }
            writeln!(f)?;
            write_table(f, &rows)?;
        }
        if let Some(reason) = &self.pip_unresolved {
            writeln!(f, "\npip           resolved during the build: {reason}")?;
            for line in &self.pip_lines {
                writeln!(f, "              {line}")?;
            }
        }
        Ok(())
    }

    fn show_result(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nsteps         {}", self.steps.join(", "))?;
        let open = if self.pip_unresolved.is_some() {
            ", without pip's"
        } else {
            ""
        };
        writeln!(f, "to fetch      {}{open}", HumanBytes(self.download_bytes))?;
        if let Some(bytes) = self.image_bytes {
            writeln!(f, "image size    about {}{open}", HumanBytes(bytes))?;
        }
        write!(f, "time          about {}", shown_seconds(self.seconds))?;
        for finding in &self.findings {
            write!(f, "\nfinding       {finding}")?;
        }
        Ok(())
    }
}

fn shown_size(size: Option<u64>) -> String {
    size.map_or_else(|| "?".to_owned(), |size| HumanBytes(size).to_string())
}

fn shown_seconds(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds} s"),
        _ => format!("{} min", seconds.div_ceil(60)),
    }
}

/// Writes rows in columns as wide as their widest cells. Sizes are aligned to the right.
fn write_table<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let size = rows[0].iter().position(|title| title == "SIZE");
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| {
            if size == Some(column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}
