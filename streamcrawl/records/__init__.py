"""Feeds read while they come: the records of an XML or CSV body, one after the other, in bounded memory."""

from streamcrawl.records.broken import BrokenFeed
from streamcrawl.records.csv import csv_records
from streamcrawl.records.xml import xml_records

__all__ = ["BrokenFeed", "csv_records", "xml_records"]
