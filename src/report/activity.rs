//! What goes on, as a report that follows a run shows it.

use std::collections::{BTreeMap, BTreeSet};

use ablate_stage::{Progress, is_rate};

use super::{Chart, MAX_SERIES, Series, shown};

/// A line for each instance with how far it is, and a chart for each quantity that some of them measure, as HTML. The instances come
/// with all they have told, the latest last.
pub fn to_html(activity: &BTreeMap<String, Vec<Progress>>) -> String {
    if activity.is_empty() {
        return String::new();
    }
    let line = |(instance, told): (&String, &Vec<Progress>)| {
        let how_far = told.last().map(Progress::to_string).unwrap_or_default();
        format!("<li>{}</li>\n", shown(format!("{instance} {how_far}").trim_end()))
    };
    let lines: String = activity.iter().map(line).collect();
    let charts: String = charts(activity).iter().map(Chart::to_html).collect();
    format!("<ul>\n{lines}</ul>\n<div class=\"grid\">\n{charts}</div>\n")
}

fn charts(activity: &BTreeMap<String, Vec<Progress>>) -> Vec<Chart> {
    let of_one = |progress: &Progress| -> Vec<(String, String)> {
        let names = progress.values().keys().filter(|name| !is_rate(name));
        names.map(|name| (name.clone(), progress.unit.clone())).collect()
    };
    let quantities: BTreeSet<(String, String)> = activity.values().flatten().flat_map(of_one).collect();
    let of_quantity = |(quantity, unit): (String, String)| {
        let series = activity.iter().filter_map(|(instance, told)| {
            let of_unit = told.iter().filter(|progress| progress.unit == unit);
            let point =
                |progress: &Progress| Some((progress.done as f64, *progress.values().get(&quantity)?));
            let points: Vec<(f64, f64)> = of_unit.filter_map(point).collect();
            (points.len() > 1).then(|| Series::of(instance.clone(), &[points]))
        });
        let series: Vec<Series> = series.collect();
        let chart = |series: &[Series]| Chart {
            title: format!("{quantity}, so far"),
            x: unit.clone(),
            series: series.to_vec(),
        };
        series.chunks(MAX_SERIES).map(chart).collect::<Vec<_>>()
    };
    quantities.into_iter().flat_map(of_quantity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_a_line_and_what_it_measures_a_chart() {
        let told = |done, loss| Progress::of(done, 9, "step").with("loss", loss).with("samples/s", 10.0);
        let activity = BTreeMap::from([
            ("a<b>".to_owned(), vec![told(1, 3.0), told(2, 2.5)]),
            ("new".to_owned(), vec![]),
            ("once".to_owned(), vec![told(1, 1.0)]),
        ]);
        let html = to_html(&activity);
        assert!(html.contains("<li>a&lt;b&gt; 2/9 step loss 2.500, 10 samples/s</li>"), "{html}");
        assert!(html.contains("<li>new</li>"), "{html}");
        assert_eq!(html.matches("<figcaption>").count(), 1, "{html}");
        assert!(html.contains("<figcaption>loss, so far</figcaption>"), "{html}");
        let chart = &charts(&activity)[0];
        assert_eq!(chart.series.iter().map(|series| series.name.as_str()).collect::<Vec<_>>(), ["a<b>"]);
        let points: Vec<(f64, f64)> = chart.series[0].points.iter().map(|point| (point.x, point.y)).collect();
        assert_eq!((chart.x.as_str(), points), ("step", vec![(1.0, 3.0), (2.0, 2.5)]));
        assert_eq!(to_html(&BTreeMap::new()), "");
    }
}
