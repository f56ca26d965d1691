//! The matrix of live containers as a page.

use super::{End, Page, Square};
use crate::model::Service;
use crate::ops::reach::Matrix;

/// The page of `moat reach --html`.
#[must_use]
pub fn matrix(matrix: &Matrix) -> String {
    // By network, as the page groups them.
    let mut all: Vec<_> = matrix.ends.iter().collect();
    all.sort_by_key(|e| (&e.network, &e.name));
    let ends = all.iter().map(|e| End {
        name: e.name.to_string(),
        group: e.network.as_ref().map(ToString::to_string).unwrap_or_default(),
        about: e.about.clone(),
    });
    let allowed = matrix.cells.iter().filter(|c| c.decided).count();
    let probed = matrix.cells.iter().filter(|c| c.observed.is_some()).count();
    let cells = matrix.cells.len();
    let summary = format!(
        "{} containers, {cells} cells: {allowed} allowed, {} denied; {probed} probed",
        all.len(),
        cells - allowed
    );
    let mut page = Page::new("Who reaches whom", summary, ends.collect(), true);
    for cell in &matrix.cells {
        let number = |name: &crate::model::Name| all.iter().position(|e| e.name == *name);
        let (Some(from), Some(to)) = (number(&cell.from), number(&cell.to)) else {
            continue;
        };
        page.add(Square {
            from,
            to,
            service: match cell.service {
                Service::Any => "any".to_owned(),
                service => service.to_string(),
            },
            family: cell.family,
            decided: cell.decided,
            observed: cell.observed,
            expected: None,
            place: None,
            reason: &cell.because,
        });
    }
    page.html()
}
