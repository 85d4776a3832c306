"""Requests of all kinds: forms, JSON, XML-RPC, from and to curl, from and to a dict."""

from streamcrawl.requests.curl import request_from_curl, to_curl
from streamcrawl.requests.dicts import request_from_dict, request_to_dict
from streamcrawl.requests.form import form_request, formdata_request
from streamcrawl.requests.json import json_request
from streamcrawl.requests.xmlrpc import xmlrpc_request

__all__ = [
    "form_request",
    "formdata_request",
    "json_request",
    "request_from_curl",
    "request_from_dict",
    "request_to_dict",
    "to_curl",
    "xmlrpc_request",
]
