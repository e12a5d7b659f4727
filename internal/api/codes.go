// SPDX-License-Identifier: AGPL-3.0-or-later

package api

// code is the rc of a refusal.
type code string

// PublishedEnum lists the codes that the reference publishes (errors chapter, section 6). Some of them are never sent, and some that
// are sent are not among them: generated clients want the list to be there, not to be complete.
func (code) PublishedEnum() []string { return publishedCodes }

var publishedCodes = []string{
	"MissingPrompt", "CorruptPrompt", "KudosValidationError", "NoValidActions", "InvalidSize", "InvalidPromptSize",
	"TooManySteps", "Profanity", "ProfaneWorkerName", "ProfaneBridgeAgent", "ProfaneWorkerInfo", "ProfaneUserName",
	"ProfaneUserContact", "ProfaneAdminComment", "ProfaneTeamName", "ProfaneTeamInfo", "TooLong", "TooLongWorkerName",
	"TooLongUserName", "NameAlreadyExists", "WorkerNameAlreadyExists", "TeamNameAlreadyExists", "PolymorphicNameConflict",
	"ImageValidationFailed", "SourceImageResolutionExceeded", "SourceImageSizeExceeded", "SourceImageUrlInvalid",
	"SourceImageUnreadable", "InpaintingMissingMask", "SourceMaskUnnecessary", "UnsupportedSampler", "UnsupportedModel",
	"ControlNetUnsupported", "ControlNetSourceMissing", "ControlNetInvalidPayload", "SourceImageRequiredForModel",
	"UnexpectedModelName", "TooManyUpscalers", "ProcGenNotFound", "InvalidAestheticAttempt", "AestheticsNotCompleted",
	"AestheticsNotPublic", "AestheticsDuplicate", "AestheticsMissing", "AestheticsSolo", "AestheticsConfused",
	"AestheticsAlreadyExist", "AestheticsServerRejected", "AestheticsServerError", "AestheticsServerDown",
	"AestheticsServerTimeout", "InvalidAPIKey", "WrongCredentials", "NotAdmin", "NotModerator", "NotOwner", "NotPrivileged",
	"AnonForbidden", "AnonForbiddenWorker", "AnonForbiddenUserMod", "NotTrusted", "UntrustedTeamCreation",
	"UntrustedUnsafeIP", "WorkerMaintenance", "WorkerFlaggedMaintenance", "TooManySameIPs", "WorkerInviteOnly", "UnsafeIP",
	"TimeoutIP", "TooManyNewIPs", "KudosUpfront", "SharedKeyInvalid", "SharedKeyEmpty", "SharedKeyExpired",
	"SharedKeyInsufficientKudos", "SharedKeyAssignedStyles", "InvalidJobID", "RequestNotFound", "WorkerNotFound",
	"TeamNotFound", "FilterNotFound", "UserNotFound", "DuplicateGen", "AbortedGen", "RequestExpired", "TooManyPrompts",
	"NoValidWorkers", "MaintenanceMode", "TargetAccountFlagged", "SourceAccountFlagged", "FaultWhenKudosReceiving",
	"FaultWhenKudosSending", "TooFastKudosTransfers", "KudosTransferToAnon", "KudosTransferToSelf",
	"KudosTransferNotEnough", "NegativeKudosTransfer", "KudosTransferFromAnon", "InvalidAwardUsername", "KudosAwardToAnon",
	"NotAllowedAwards", "NoWorkerModSelected", "NoUserModSelected", "NoHordeModSelected", "NoTeamModSelected",
	"NoFilterModSelected", "NoSharedKeyModSelected", "BadRequest", "Forbidden", "Locked", "ControlNetMismatch",
	"HiResFixMismatch", "TooManyLoras", "BadLoraVersion", "TooManyTIs", "BetaAnonForbidden", "BetaComparisonFault",
	"BadCFGDecimals", "BadCFGNumber", "BadClientAgent", "SpecialMissingPayload", "SpecialForbidden",
	"SpecialMissingUsername", "SpecialModelNeedsSpecialUser", "SpecialFieldNeedsSpecialUser", "Img2ImgMismatch",
	"TilingMismatch", "EducationCannotSendKudos", "InvalidPriorityUsername", "OnlyServiceAccountProxy", "RequiresTrust",
	"InvalidRemixModel", "InvalidExtraSourceImages", "TooManyExtraSourceImages", "MissingFullSamplerOrder",
	"TooManyStopSequences", "ExcessiveStopSequence", "TokenOverflow", "MoreThanMinExtraSourceImage", "InvalidExtraTexts",
	"MissingExtraTexts", "InvalidTransparencyModel", "InvalidTransparencyImg2Img", "InvalidTransparencyCN", "HiResMismatch",
	"StylesAnonForbidden", "StylePromptMissingVars", "StylesRequiresCustomizer", "StyleMismatch", "StyleGetMistmatch",
	"TooManyStyleExamples", "ExampleURLAlreadyInUse", "MessagesOnlyOwnWorkers", "NotUserOrMod", "CannotDeleteMod",
	"UserNotDeleted", "DeletedUser", "CannotWipeActiveUser", "NonServiceForbidden", "NulByteInPayload",
}
