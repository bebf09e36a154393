"""The report: HTML pages that open from the disk and load nothing but their videos.

`study` gathers the data of each video, `recordings` finds videos and cuts pictures from them,
`methods` writes the sentences for a paper, and `pages` fills the template `report.html` with
`style.css`, `timeline.js` and `script.js`.
"""
