"""The report: pages of HTML that open from disk, with nothing but their own text and videos.

`study` gathers what is shown of each video, `recordings` finds videos and cuts pictures out of
them, `methods` writes the sentences for a paper, `pages` lays it out by `report.html`, `style.css`,
`timeline.js` and `script.js`.
"""
